"""A saved model: photos in, P(class) out.

Read classifier, saved, litert, naming, phone_labels, third_party, third_party_litert, prediction,
evaluation.
"""
