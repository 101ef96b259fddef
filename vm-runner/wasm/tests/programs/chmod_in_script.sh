echo x > f; printf '#!/bin/sh\nchmod 740 f; stat -c %%a f; chmod u+s,g+w f; stat -c %%a f; cp f g; chmod 600 g; stat -c %%a g\n' > s
chmod 755 s; ./s; sh s; stat -c %a f g; exec 3< s; chmod 711 f; stat -c %a f
