"""X-AnyLabeling's remote server: a desktop program that sends the image which its user looks at."""
