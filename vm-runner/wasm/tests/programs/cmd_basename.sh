basename /a/b/c.txt; basename /a/b/c.txt .txt; basename -a /x/1 /y/2; basename -s .h a.h b.h; basename /
