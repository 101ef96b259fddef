mkdir d; cd d; touch b a .h; mkdir z
ls; ls -a | tr '\n' ' '; echo; ls -1p; ls -A | wc -l
chmod 644 a; ls -l a | cut -c1-10
