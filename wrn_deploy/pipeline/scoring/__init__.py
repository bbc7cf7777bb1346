"""The steps of `score`: scores of images in any number, shard by shard, and the merge of the parts."""
