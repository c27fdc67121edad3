# fish completion for @NAME@; the program itself says what may follow.
complete -c @NAME@ -a "(@NAME@ completion words (commandline -opc)[2..-1] 2>/dev/null)"
