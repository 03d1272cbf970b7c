# Writes the table of the page's files as C: awk -v dir=DIST -f embed.awk DIST/files.list. An empty list gives an empty
# table. The bytes are taken in by the assembler.
BEGIN {
    FS = "\t"
    print "/* made by embed.awk */\n#include \"plugins/web/web.h\"\n"
    print "#define BYTES(name, file) \\"
    print "    __asm__(\".section .rodata\\n\" #name \":\\n.incbin \\\"\" file \"\\\"\\n\" #name \"_end:\\n.byte 0\\n.previous\\n\"); \\"
    print "    extern const unsigned char name[] __attribute__((visibility(\"hidden\"))), \\"
    print "        name##_end[] __attribute__((visibility(\"hidden\")))\n"
}
NF == 4 {
    n++
    printf "BYTES(page_%d, \"%s/%s\");\nBYTES(page_%d_gz, \"%s/%s.gz\");\nBYTES(page_%d_br, \"%s/%s.br\");\n", n, dir, $4, n, dir, $4, n, dir, $4
    rows = rows sprintf("    {\"%s\", \"%s\", \"%s\", page_%d, page_%d_gz, page_%d_br, page_%d_end, page_%d_gz_end, page_%d_br_end},\n", $1, $2, $3, n, n, n, n, n, n)
}
END { print "\nconst web_file web_files[] = {\n" rows "    {0},\n};" }
