"""The sender's eye: pictures to label maps."""
