# contracts: part of the top Makefile
