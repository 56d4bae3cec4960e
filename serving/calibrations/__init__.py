"""The life of a calibration as a service: plots and reports of records, and what the server keeps of them."""
