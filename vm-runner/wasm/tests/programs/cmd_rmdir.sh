mkdir -p a/b/c; rmdir a/b/c; rmdir -p a/b; ls; mkdir d; touch d/f; rmdir d 2>/dev/null; echo $?; rmdir --ignore-fail-on-non-empty d; echo $?; ls
