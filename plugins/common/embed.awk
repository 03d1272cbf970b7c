# Writes text files as C string constants: docs.css → docs_css[]. One pair of names a file.
FNR == 1 {
    if (name) print "    ;"
    name = FILENAME
    sub(/.*\//, "", name)
    gsub(/[^A-Za-z0-9]/, "_", name)
    print "extern const char " name "[];\nconst char " name "[] ="
}
{
    gsub(/\\/, "\\\\&")
    gsub(/"/, "\\\\&")
    print "    \"" $0 "\\n\""
}
END { if (name) print "    ;" }
