"""From samples as they arrive to epochs as the stager wants them: stateful, causal, cut-proof."""
