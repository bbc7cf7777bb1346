"""The steps of `calibrate` and `lint`: int8 and fp8 graphs and what is wrong with them."""
