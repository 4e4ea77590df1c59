# FP8 checkpoint with 128 x 128 blocks; 1536 / 8 = 192
vllm serve Qwen/Qwen3-235B-A22B-FP8 -tp=8 --max-model-len=65536
