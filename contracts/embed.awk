# embed.awk — writes a C file that holds text files as constants: awk -v table=NAME -f embed.awk FILE...
# The table maps the file's name without folder and suffix to its bytes, ends with a NULL name.
function begin(path) {
    name = path
    sub(/^.*\//, "", name)
    sub(/\.[^.]*$/, "", name)
    names[++n] = name
    printf "static const char file_%d[] =\n", n
}
BEGIN {
    print "/* made by embed.awk; do not edit */"
    print "#include \"embedded.h\""
}
FNR == 1 {
    if (n)
        print "    ;"
    begin(FILENAME)
}
{
    gsub(/\\/, "&&")
    # not gsub for the quotes: awks disagree on how many backslashes its second argument needs
    parts = split($0, part, "\"")
    line = part[1]
    for (i = 2; i <= parts; i++)
        line = line "\\\"" part[i]
    printf "    \"%s\\n\"\n", line
}
END {
    print "    ;"
    printf "const embedded_file %s[] = {\n", table
    for (i = 1; i <= n; i++)
        printf "    {\"%s\", file_%d, sizeof file_%d - 1},\n", names[i], i, i
    print "    {0, 0, 0},\n};"
}
