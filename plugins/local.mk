# plugins: part of the top Makefile
