"""Models that teams register: their versions and aliases as this process knows them, their files on this disk, and the use cases."""
