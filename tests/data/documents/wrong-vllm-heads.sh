vllm serve meta-llama/Llama-3.1-70B-Instruct -tp 6 -pp 2 --max-model-len 16384
