mkdir bin; printf '#!/bin/sh\necho mine $1\n' > bin/mine; chmod +x bin/mine
PATH=$PWD/bin:$PATH
mine arg
mine2 2>/dev/null; echo $?
