"""guardian-setup: makes a Debian machine (a Raspberry Pi) the home's filter, and takes it back."""
