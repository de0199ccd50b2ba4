"""The bench on two machines of scripts/vm; what is in `inside` runs on one of them."""
