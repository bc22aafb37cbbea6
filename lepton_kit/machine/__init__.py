"""What this machine has: cores and how they lie together, memory, GPUs, FPGA targets, and who keeps them busy."""
