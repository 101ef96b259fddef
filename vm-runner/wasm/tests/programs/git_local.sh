git init -q r && cd r && git config user.email a@b && git config user.name A
echo one > f; git add f; git commit -qm first 2>/dev/null; echo $?
echo two >> f; git diff --stat | cat; git status --short; git commit -qam second 2>/dev/null; git log --format=%s | cat; git log --oneline | wc -l; git branch feature; git checkout -q feature 2>/dev/null; git branch --list | wc -l; git show HEAD:f; cd ..; git clone -q r c 2>/dev/null; cat c/f; cd c; git log --format=%s | head -1
