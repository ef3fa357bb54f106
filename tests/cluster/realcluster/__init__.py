"""A real Kubernetes of three nodes on one machine: what the lab imitates is here done by the programs that do it in a Harvester cluster.

    needs       what must be there, and the reason for skipping where it is not
    confine     processes in namespaces and cgroups of their own, and how all of it goes away
    node        one node: its namespaces, containerd, kubelet, Multus, whereabouts
    nodeinit    the first process of a node
    control     etcd, API server, controllers, scheduler
    image       image archives without an image builder
    objects     what Harvester and Longhorn would have written
    pods        instance-managers and other pods with a storage address
    install     the agent, by `kubectl apply -k`
    cluster     all of it together, and the questions that tests put to it

    PYTHONPATH=tests/cluster python -m realcluster        one that stays until Ctrl-C

Nothing has a name on the machine: namespaces live as long as the process that made them, and everything in them ends with it.
"""
