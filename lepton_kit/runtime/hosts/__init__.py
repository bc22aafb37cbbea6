"""Workers on several hosts: an agent on each, reached over a channel that ssh, or another launcher, brings up."""
