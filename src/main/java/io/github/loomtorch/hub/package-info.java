/**
 * Models from the Hugging Face hub, by name: {@link io.github.loomtorch.hub.Hub} downloads what is missing into the
 * cache that Python's {@code huggingface_hub} uses too, and gives the folder of a model.
 *
 * <p>Whatever the hub sends is untrusted: names are checked before they become paths, each file has to have the size
 * and the hash that were announced, and the token goes to the hub's own host only.
 */
@NullMarked
package io.github.loomtorch.hub;

import org.jspecify.annotations.NullMarked;
