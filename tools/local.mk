# tools: part of the top Makefile
include tools/dashboard/local.mk
dist_bin_SCRIPTS += tools/plugin-new
EXTRA_DIST += tools/common.sh tools/demo tools/picture tools/picture.mjs tools/demo.d tools/up tools/up.d tools/test tools/deb tools/checks
tree_checks = tools/checks/dependencies tools/checks/host-names-no-plugin tools/checks/exports tools/checks/sizes \
  tools/checks/format
TESTS += $(tree_checks)
include tools/odto-gate/local.mk
include tools/odto/local.mk
