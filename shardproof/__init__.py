"""shardproof plans LLM serving deployments with provably the fewest GPUs."""
