"""UNITER and ViLBERT written plainly, from their papers and released code, for ONE sample without padding.

Weights are read from a state dict by their original names. Nothing of `vl` is used, nor any module of torch: a matrix
product, a softmax, an error function. Slow and short on purpose.
"""

import math

import torch


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(q, k, v, heads):
    """(lq, d), (l, d), (l, d): one head after the other."""
    size = q.shape[1] // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        outputs.append(scores.softmax(1) @ v[:, part])
    return torch.cat(outputs, 1)


def bert_layer(w, name, x, heads):
    q, k, v = (linear(w, f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
    seen = linear(w, f"{name}.attention.output.dense", attention(q, k, v, heads))
    x = norm(w, f"{name}.attention.output.LayerNorm", x + seen)
    return feed_forward(w, f"{name}.intermediate", f"{name}.output", x)


def feed_forward(w, intermediate, output, x):
    hidden = gelu(linear(w, f"{intermediate}.dense", x))
    return norm(w, f"{output}.LayerNorm", x + linear(w, f"{output}.dense", hidden))


def words(w, name, ids, segment):
    x = w[f"{name}.word_embeddings.weight"][ids] + w[f"{name}.position_embeddings.weight"][: len(ids)]
    return norm(w, f"{name}.LayerNorm", x + w[f"{name}.token_type_embeddings.weight"][segment])


def layers(w, name):
    numbers = {int(key.removeprefix(f"{name}.").split(".")[0]) for key in w if key.startswith(f"{name}.")}
    return sorted(numbers)


def prediction_transform(w, name, x):
    return norm(w, f"{name}.LayerNorm", gelu(linear(w, f"{name}.dense", x)))


def token_logits(w, table, x):
    x = prediction_transform(w, "cls.predictions.transform", x)
    return x @ w[f"{table}.word_embeddings.weight"].T + w["cls.predictions.bias"]


def uniter(w, ids, segment, features, boxes, hidden, heads):
    """All of UNITER: words, regions, pooled, and the logits of its four heads.

    `features` of regions where `hidden` is 1 are replaced: zero plus the learned mask vector, before the projection.
    """
    text = words(w, "uniter.embeddings", ids, segment)
    x1, y1, x2, y2 = boxes.unbind(1)
    position = torch.stack([x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], 1)
    image = "uniter.img_embeddings"
    features = features * (1 - hidden)[:, None] + w[f"{image}.mask_embedding.weight"][1] * hidden[:, None]
    feature = norm(w, f"{image}.img_layer_norm", linear(w, f"{image}.img_linear", features))
    place = norm(w, f"{image}.pos_layer_norm", linear(w, f"{image}.pos_linear", position))
    kind = w["uniter.embeddings.token_type_embeddings.weight"][1]
    x = torch.cat([text, norm(w, f"{image}.LayerNorm", feature + place + kind)])
    for i in layers(w, "uniter.encoder.layer"):
        x = bert_layer(w, f"uniter.encoder.layer.{i}", x, heads)
    text, visual = x[: len(ids)], x[len(ids) :]
    pooled = linear(w, "uniter.pooler.dense", x[0]).tanh()
    middle = norm(w, "feat_regress.net.2", gelu(linear(w, "feat_regress.net.0", visual)))
    classes = norm(w, "region_classifier.net.2", gelu(linear(w, "region_classifier.net.0", visual)))
    return {
        "text": text,
        "visual": visual,
        "pooled": pooled,
        "mlm": token_logits(w, "uniter.embeddings", text),
        "mrfr": middle @ w[f"{image}.img_linear.weight"] + w["feat_regress.bias"],
        "mrc": linear(w, "region_classifier.net.3", classes),
        "itm": linear(w, "itm_output", pooled),
    }


def co_layer(w, name, visual, text, heads):
    """Both directions from the same inputs. 1 is the visual stream, 2 the text."""
    q1, k1, v1 = (linear(w, f"{name}.biattention.{part}1", visual) for part in ("query", "key", "value"))
    q2, k2, v2 = (linear(w, f"{name}.biattention.{part}2", text) for part in ("query", "key", "value"))
    for_text, for_visual = attention(q2, k1, v1, heads), attention(q1, k2, v2, heads)
    visual = norm(w, f"{name}.biOutput.LayerNorm1", visual + linear(w, f"{name}.biOutput.dense1", for_visual))
    text = norm(w, f"{name}.biOutput.LayerNorm2", text + linear(w, f"{name}.biOutput.dense2", for_text))
    visual = feed_forward(w, f"{name}.v_intermediate", f"{name}.v_output", visual)
    return visual, feed_forward(w, f"{name}.t_intermediate", f"{name}.t_output", text)


def vilbert(w, ids, segment, features, boxes, hidden, heads, order):
    """All of ViLBERT. `order` names every layer in order of execution: t0, v0, c0 ...; `heads` gives t, v and c's.

    `features` where `hidden` is 1 are zeroed; the whole picture in front is the mean of them all.
    """
    text = words(w, "bert.embeddings", ids, segment)
    x1, y1, x2, y2 = boxes.unbind(1)
    location = torch.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)], 1)
    location = torch.cat([torch.tensor([[0.0, 0, 1, 1, 1]]), location])
    features = torch.cat([features.mean(0, keepdim=True), features * (1 - hidden)[:, None]])
    image = "bert.v_embeddings"
    visual = linear(w, f"{image}.image_embeddings", features) + linear(
        w, f"{image}.image_location_embeddings", location
    )
    visual = norm(w, f"{image}.LayerNorm", visual)
    for kind, i in ((step[0], step[1:]) for step in order):
        if kind == "t":
            text = bert_layer(w, f"bert.encoder.layer.{i}", text, heads["t"])
        elif kind == "v":
            visual = bert_layer(w, f"bert.encoder.v_layer.{i}", visual, heads["v"])
        else:
            visual, text = co_layer(w, f"bert.encoder.c_layer.{i}", visual, text, heads["c"])
    pooled_text = linear(w, "bert.t_pooler.dense", text[0]).clamp(min=0)
    pooled = pooled_text * linear(w, "bert.v_pooler.dense", visual[0]).clamp(min=0)
    regions = prediction_transform(w, "cls.imagePredictions.transform", visual[1:])
    return {
        "text": text,
        "visual": visual[1:],
        "pooled": pooled,
        "mlm": token_logits(w, "bert.embeddings", text),
        "mrc": linear(w, "cls.imagePredictions.decoder", regions),
        "alignment": linear(w, "cls.bi_seq_relationship", pooled),
    }
