#!/bin/sh
# the fuzz target of the manifest over its corpus, see replay.c
exec "${ODTO_BUILDDIR:-.}/tests/fuzz/replay_manifest" "${ODTO_SRCDIR:-.}/tests/fuzz/corpus/manifest"
