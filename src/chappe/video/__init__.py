"""Video as pictures one after another: YUV4MPEG2 pipes, and streams of chappe files."""
