#compdef @NAME@
# zsh completion for @NAME@; the program itself says what may follow.
@FUNCTION@() {
    local -a found
    found=(${(f)"$(@NAME@ completion words "${(@)words[2,CURRENT-1]}" 2>/dev/null |
        sed 's/:/\\:/g; s/\t/:/')"})
    [[ -n $found ]] && _describe @NAME@ found || _files
}
if [[ $funcstack[1] == @FUNCTION@ ]]; then @FUNCTION@ "$@"; else compdef @FUNCTION@ @NAME@; fi
