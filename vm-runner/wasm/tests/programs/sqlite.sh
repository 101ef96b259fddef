sqlite3 t.db 'create table t(a,b); insert into t values (1,"x"),(2,"y"); select sum(a) from t;'
sqlite3 t.db 'select a||b from t order by a desc'
echo 'select count(*) from t;' | sqlite3 t.db
