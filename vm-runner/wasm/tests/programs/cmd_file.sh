printf '#!/bin/sh\n' > s; printf 'plain text\n' > t; mkdir d; : > e; file -b t | grep -ci text; file -b d | grep -ci directory; file -b e | grep -ci empty; file s | cut -d: -f1
