"""The fault-injection kit: what happens when the power goes, the process is killed, a byte flips. For tests and for the demo."""
