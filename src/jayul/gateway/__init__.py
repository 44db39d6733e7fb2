"""The gateway: a small process of its own that alone holds the write credential. It judges again, writes, and hands back."""
