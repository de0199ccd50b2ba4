IMG=$1
docker network inspect fpn >/dev/null 2>&1 || docker network create -d openvswitch --subnet 10.99.0.0/24 fpn >/dev/null
docker run -d --name fpa --net fpn $IMG sleep 9999 >/dev/null
bad=0
for i in $(seq 1 12); do
 docker run -d --name fpb --net fpn $IMG sleep 9999 >/dev/null
 docker exec fpa ping -c 3 -W 1 fpb | grep -E 'packets trans|seq=' | sed "s/^/$i out-in /" | grep -v 'seq=[12]'
 docker exec fpb ping -c 3 -W 1 fpa | grep -E 'packets trans'| sed "s/^/$i new-old /"
 docker rm -f fpb >/dev/null
done
docker rm -f fpa >/dev/null; docker network rm fpn >/dev/null
