"""Two examples of each command, which its --help ends with; a test parses them all."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "demo": ("wrn-deploy demo", "wrn-deploy demo -o /tmp/demo --epochs 3"),
    "example": ("wrn-deploy example", "wrn-deploy example -o first-try --json"),
    "models": ("wrn-deploy models", "wrn-deploy models wrn-50-2"),
    "train": (
        "wrn-deploy train wrn-16-2 --data digits -o run",
        "wrn-deploy train wrn-28-10 --data cifar-10 -o run --amp bf16 --resume",
    ),
    "export": (
        "wrn-deploy export wrn-16-2 --weights run/model.safetensors -o bundle",
        "wrn-deploy export wrn-50-2 --weights timm/wide_resnet50_2.racm_in1k -o b",
    ),
    "deploy": (
        "wrn-deploy deploy wrn-16-2 --weights w.pth --calib-data train/ -o bundle",
        "wrn-deploy deploy --weights timm/resnet50.a1h_in1k --calib-data val/ -o b",
    ),
    "import": (
        "wrn-deploy import m.onnx --mean 0,0,0 --std 1,1,1 --labels names.txt -o b",
        "wrn-deploy import m.onnx --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 -o b",
    ),
    "calibrate": (
        "wrn-deploy calibrate bundle --calib-data digits",
        "wrn-deploy calibrate bundle --calib-data images/ --calib-size 512",
    ),
    "tune": (
        "wrn-deploy tune bundle --data digits --max-drop 0.1",
        "wrn-deploy tune bundle --data val/ --min-agreement 99",
    ),
    "finetune": (
        "wrn-deploy finetune bundle --data train/",
        "wrn-deploy finetune bundle --data digits --loss labels --steps 100",
    ),
    "lint": ("wrn-deploy lint bundle/onnx/int8.onnx", "wrn-deploy lint model.onnx --target tensorrt --json"),
    "build-engine": (
        "wrn-deploy build-engine bundle --int8",
        "wrn-deploy build-engine bundle --fp16 --profile 1:8:32",
    ),
    "bench": (
        "wrn-deploy bench bundle --data digits",
        "wrn-deploy bench bundle --data val/ --all --batches 1,32 -o reports",
    ),
    "eval": (
        "wrn-deploy eval bundle --data val/ --max-drop 0.5",
        "wrn-deploy eval model.pth --model wrn-50-2 --data val/",
    ),
    "compare": (
        "wrn-deploy compare before.json after.json --max-regress 5%",
        "wrn-deploy compare monday/ tuesday/ bundle -o history.html",
    ),
    "predict": (
        "wrn-deploy predict bundle photo.jpg",
        "wrn-deploy predict bundle photos/ --precision int8 --json",
    ),
    "score": (
        "wrn-deploy score bundle --data shards/ -o scores",
        "wrn-deploy score bundle --data shards/ -o scores --merge",
    ),
    "embed": ("wrn-deploy embed -o runner", "wrn-deploy embed -o runner --python"),
    "repository": (
        "wrn-deploy repository bundle -o models --backend tensorrt --triton 26.07",
        "wrn-deploy repository -o models --check",
    ),
    "serve": (
        "wrn-deploy serve bundle",
        "wrn-deploy serve bundle --repository models --precision int8",
    ),
    "sign": (
        "wrn-deploy sign bundle --key private.pem",
        "wrn-deploy sign bundle --key private.pem --certificate cert.pem",
    ),
    "verify": ("wrn-deploy verify bundle", "wrn-deploy --require-signature public.pem verify bundle"),
    "inspect": ("wrn-deploy inspect bundle", "wrn-deploy inspect model.onnx --json"),
    "explain": (
        "wrn-deploy explain fp32.onnx int8.onnx",
        "wrn-deploy explain fp32.onnx int8.onnx --batch 8 --rounds 30",
    ),
    "plot-training": ("wrn-deploy plot-training run", "wrn-deploy plot-training run-a run-b -o curves.svg"),
    "plot-model": ("wrn-deploy plot-model wrn-16-2 -o net.svg", "wrn-deploy plot-model bundle --precision int8"),
    "doctor": ("wrn-deploy doctor", "wrn-deploy doctor --json"),
}
