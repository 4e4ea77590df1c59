#!/bin/sh
# eight cards, one engine
CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 vllm serve Qwen/Qwen3-30B-A3B \
    --tensor-parallel-size 4 --pipeline-parallel-size 2 \
    --enable-expert-parallel --max-model-len 32768 \
    --max-num-seqs 64 --gpu-memory-utilization 0.9 --port 8000
