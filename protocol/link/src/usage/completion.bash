# bash completion for @NAME@; the program itself says what may follow.
@FUNCTION@() {
    local current=${COMP_WORDS[COMP_CWORD]} words
    words=$(@NAME@ completion words "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null | cut -f 1)
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}
complete -F @FUNCTION@ @NAME@
