# harness of the integration tests
CLEANFILES += tests/mongo_server tests/mongo_server.lock
EXTRA_DIST += %D%/odto.py %D%/server.py %D%/redis.py %D%/mongo.py %D%/mongo_double.py %D%/stack.py %D%/mongo_server/main.go \
  %D%/mongo_server/go.mod %D%/mongo_server/go.sum %D%/upstream.py %D%/prometheus.py
