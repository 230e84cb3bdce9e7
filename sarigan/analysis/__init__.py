"""What a trained generator has learnt: semantics of its groups, and the networks that read avatars."""
