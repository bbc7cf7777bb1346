"""What files of each format declare, checked before a library reads them."""
