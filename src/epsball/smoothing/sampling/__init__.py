"""Who is sampled next, and how often: images, blocks of noise, and when to stop."""
