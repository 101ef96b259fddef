# The parts of `make up` and `make test`: what is built, started and installed. Sourced after step.sh.

set -a # steps run in a shell of their own, which sees these
release_namespace=lodge-system
software=$local_dir/software
images=$local_dir/images
set +a

# Decides between the local cluster and the user's own, says which, and checks at once what the choice needs.
choose_cluster() {
  "$root/e2e/cluster/check" || exit 1
  if [ -n "${LODGE_CONTEXT-}" ]; then
    cluster_choice="the context '$LODGE_CONTEXT' of your kubeconfig"
    [ -n "${LODGE_REGISTRY-}" ] ||
      fail "LODGE_CONTEXT needs LODGE_REGISTRY=PREFIX, a registry that this machine pushes to and the cluster pulls from"
    return 0
  fi
  cluster_choice="the local one-node cluster in $state"
  local current kubeconfig=${KUBECONFIG:-$HOME/.kube/config}
  current=$([ ! -r "$kubeconfig" ] || sed -n 's/^current-context: *//p' "$kubeconfig" | head -n 1 | tr -d '"')
  case "$current" in
    '' | lodge-local) ;;
    *) cluster_choice="$cluster_choice (your context '$current' is left alone; LODGE_CONTEXT=$current uses it)" ;;
  esac
}

build_all() {
  step 'packages' "$root/e2e/cluster/install-packages" &&
    step 'cluster tools' "$root/e2e/cluster/build" &&
    step 'rust programs' build_programs &&
    step 'guest software' fetch_software &&
    step 'ahead-of-time code' compile_software
}

build_programs() {
  cd "$root"
  cargo build --release --locked -p operator -p gateway -p kubectl-lodge -p vm-runner -p e2e
  local target program
  target=${CARGO_TARGET_DIR:-$root/target}/release
  for program in operator gateway kubectl-lodge vm-runner; do
    ln -sf "$target/$program" "$bin/$program"
  done
  # `kubectl lodge <TAB>` asks it.
  ln -sf "$root/operator/kubectl-lodge/completion/kubectl_complete-lodge" "$bin/kubectl_complete-lodge"
}

# Installs the published packages by their lock file; unchanged lock file, nothing to do.
fetch_software() {
  local from=$root/vm-runner/software stamp=$local_dir/package-lock.json
  if cmp -s "$from/package-lock.json" "$stamp" && [ -d "$from/node_modules" ]; then
    echo 'the installed packages match the lock file'
    return 0
  fi
  rm -f "$stamp"
  (cd "$from" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=http)
  cp "$from/package-lock.json" "$stamp"
}

compile_software() {
  "$bin/vm-runner" software build --from "$root/vm-runner/software/node_modules" \
    --packages "$root/vm-runner/software/packages.json" --out "$software" --cache "$cache/cwasm"
}

# Hard links where the file system allows, so that a build context costs no copy.
link_or_copy() { cp -rl "$1" "$2" 2>/dev/null || { rm -rf "$2" && cp -r "$1" "$2"; }; }

# What the cluster is told to run: the local reference, or that of the image pushed to the user's registry.
image_reference() {
  if [ -n "${LODGE_CONTEXT-}" ]; then
    "$root/e2e/image/push" "$1" "$LODGE_REGISTRY" | tail -n 1
  else
    tail -n 1 "$2"
  fi
}

build_images() {
  local context
  "$root/e2e/image/base"
  context=$images/operator.context
  rm -rf "$context"
  mkdir -p "$context"
  cp -L "$bin/operator" "$bin/gateway" "$context/"
  "$root/e2e/image/build" lodge-operator "$root/operator/Dockerfile" "$context" >"$images/operator.out"
  image_reference lodge-operator "$images/operator.out" >"$images/operator.ref"
  context=$images/runner.context
  rm -rf "$context"
  mkdir -p "$context"
  cp -L "$bin/vm-runner" "$context/"
  link_or_copy "$software" "$context/software"
  "$root/e2e/image/build" lodge-runner "$root/vm-runner/Dockerfile" "$context" >"$images/runner.out"
  image_reference lodge-runner "$images/runner.out" >"$images/runner.ref"
  cat "$images/operator.ref" "$images/runner.ref"
}

start_cluster() {
  "$bin/lodge-cluster" up --state "$state"
  "$bin/lodge-cluster" load --state "$state" "$images/lodge-operator.tar" "$images/lodge-runner.tar"
}

# kubectl and helm for the chosen cluster, and no other.
cluster_kubectl() {
  if [ -n "${LODGE_CONTEXT-}" ]; then kubectl --context "$LODGE_CONTEXT" "$@"; else kubectl --kubeconfig "$state/kubeconfig" "$@"; fi
}
cluster_helm() {
  if [ -n "${LODGE_CONTEXT-}" ]; then helm --kube-context "$LODGE_CONTEXT" "$@"; else helm --kubeconfig "$state/kubeconfig" "$@"; fi
}
cluster_lodge() {
  if [ -n "${LODGE_CONTEXT-}" ]; then kubectl-lodge "$@" --context "$LODGE_CONTEXT"; else KUBECONFIG=$state/kubeconfig kubectl-lodge "$@"; fi
}

# Upgrades a release only when the chart or its values changed, so that a second run changes nothing.
install_chart() {
  local release=$1 chart=$2 stamp digest
  shift 2
  digest=$({
    (cd "$chart" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    sha256sum "$root/e2e/local-values.yaml"
    printf '%s\n' "$@"
  } | sha256sum | cut -d' ' -f1)
  stamp=$(cluster_helm get values "$release" -n "$release_namespace" -o json 2>/dev/null || true)
  if [ "${stamp#*"$digest"}" != "$stamp" ] &&
    cluster_helm status "$release" -n "$release_namespace" -o json 2>/dev/null | grep -q '"status": *"deployed"'; then
    echo "$release is up to date"
    return 0
  fi
  cluster_helm upgrade --install "$release" "$chart" -n "$release_namespace" --create-namespace \
    --set-string "global.digest=$digest" --wait --timeout 180s "$@"
}

install_charts() {
  local local_values=()
  [ -n "${LODGE_CONTEXT-}" ] || local_values=(--values "$root/e2e/local-values.yaml")
  install_chart lodge-crds "$root/charts/lodge-crds"
  install_chart lodge "$root/charts/lodge" "${local_values[@]}" \
    --set-string "operator.image.reference=$(cat "$images/operator.ref")" \
    --set-string "runner.image.reference=$(cat "$images/runner.ref")"
}

apply_example() {
  cluster_kubectl apply --server-side -f "$root/e2e/example.yaml"
  cluster_kubectl wait --for=condition=Ready --timeout=120s workspace/hello -n default
}

show_example() {
  local command='echo hello | tr a-z A-Z'
  say ''
  say "$ kubectl lodge exec hello -- sh -c '$command'"
  cluster_lodge exec hello -n default -- sh -c "$command"
}
