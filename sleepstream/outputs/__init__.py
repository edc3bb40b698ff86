"""What others see of the estimates: LSL outlets, text, the dashboard."""
