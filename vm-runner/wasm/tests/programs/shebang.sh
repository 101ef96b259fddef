printf '#!/bin/sh\necho sh $0 $1\n' > a; chmod +x a; ./a x | sed 's#.*/##'
printf '#!/usr/bin/env bash\necho env $#\n' > b; chmod +x b; ./b 1 2 3
printf '#!/bin/cat\nline\n' > c; chmod +x c; ./c
