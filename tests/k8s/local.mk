# what is in k8s/, without a cluster; image.py builds and runs the image, by hand
EXTRA_DIST += Dockerfile .dockerignore k8s %D%/.npmrc %D%/package.json %D%/package-lock.json
dist_check_SCRIPTS += %D%/manifests.py %D%/image.py
TESTS += %D%/manifests.py
clean-local: clean-k8s
clean-k8s:
	rm -rf tests/k8s.work
# passwords that k8s/secrets made here are nobody else's
dist-hook: dist-without-secrets
dist-without-secrets:
	rm -f $(distdir)/k8s/overlays/*/secrets.env
