touch f; chgrp 1000 f; echo $?; chgrp 0 f 2>/dev/null; echo $?
