"""VL: vision-language pretraining, fine-tuning and evaluation on webdataset shards."""
