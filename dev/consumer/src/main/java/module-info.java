module consumer {
    requires io.github.loomtorch;
}
