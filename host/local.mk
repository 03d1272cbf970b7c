# host: part of the top Makefile
