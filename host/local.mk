# host: part of the top Makefile
include host/ops.mk
include host/http.mk
include %D%/route.mk
