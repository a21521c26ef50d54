#!/usr/bin/env bash
# One Apache Kafka broker (KRaft, plaintext) on loopback. Needs Java 17 and Maven.
#
#   kafka.sh install|start|stop|kill|wipe|env|url|brokers|status
#
#   KAFKA_INSTANCE  a name for a server of its own beside the tests'  (default none)
#   KAFKA_PORT      its port   (default 24092, or the next free one; controller: its own)
#   KAFKA_HEAP      Java heap                                          (default 384m)
#   KAFKA_BEHIND    PORT:ADDRESS: listens at PORT as well, for clients that come through a
#                   proxy at ADDRESS
set -euo pipefail
. "$(dirname "$0")/lib.sh"
check_system
dir=$(services_dir)
version=4.3.1
name=kafka${KAFKA_INSTANCE:+-$KAFKA_INSTANCE}
d=$dir/$name
libs=$dir/kafka-$version
heap=${KAFKA_HEAP:-384m}
why="run Kafka"

java_ok() {
  need java default-jre-headless "$why" java-21-openjdk-headless
  local v; v=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${v:-0}" -ge 17 ] || die "Kafka $version needs Java 17 or newer; this is Java ${v:-of an unknown version}"
}

install() {
  java_ok
  [ ! -e "$libs/.done" ] || return 0
  say "services: fetching Kafka $version (54 MB) into $libs"
  rm -rf "$libs"; mkdir -p "$libs"
  cat >"$libs/pom.xml" <<XML
<project><modelVersion>4.0.0</modelVersion>
<groupId>waltrigger</groupId><artifactId>kafka-broker</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
XML
  mvn_get "$dir" -f "$libs/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$libs/jars"
  chmod -R a+rX "$libs"
  touch "$libs/.done"
}

properties() { # PORT CONTROLLER
  local more= advertised= map=
  if [ -n "${KAFKA_BEHIND:-}" ]; then
    more=",BEHIND://127.0.0.1:${KAFKA_BEHIND%%:*}" advertised=",BEHIND://${KAFKA_BEHIND#*:}" map=",BEHIND:PLAINTEXT"
  fi
  cat <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1$more,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1$advertised
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT$map
inter.broker.listener.name=PLAINTEXT
log.dirs=$d/data
num.partitions=3
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
log.cleaner.dedupe.buffer.size=16777216
CONF
}

start() {
  ! alive "$d/pid" || return 0
  local port controller run=()
  mkdir -p "$d"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${KAFKA_PORT:-}" 24092)
  controller=$(pick_port "$d/controller-port" "" $((port + 1000)))
  properties "$port" "$controller" >"$d/server.properties"
  own "$d"
  if [ ! -e "$d/data/meta.properties" ]; then
    as java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$libs/jars/*" \
      kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$d/server.properties" >"$d/format.log" 2>&1 ||
      { cat "$d/format.log" >&2; die "Kafka's storage could not be formatted"; }
  fi
  [ -z "$svc_user" ] || run=(setpriv --reuid="$svc_user" --regid="$(id -g "$svc_user")" --clear-groups env HOME=/)
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${run[@]}" java -Xms"$heap" -Xmx"$heap" -XX:+UseSerialGC -XX:MaxDirectMemorySize=128m \
    -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$libs/jars/*" kafka.Kafka "$d/server.properties")
  wait_port "$port" "$d/pid" "$d/server.log" 120
}

url() { echo "127.0.0.1:$(cat "$d/port")"; }

case ${1:-} in
  brokers) running ;;
  *) serve WALTRIGGER_TEST_KAFKA "$@" ;;
esac
